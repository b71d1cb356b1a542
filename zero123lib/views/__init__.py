"""What a view is: poses, cameras and pictures. Needs torch, numpy and Pillow only."""
