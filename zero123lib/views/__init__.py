"""What a view is: poses, cameras and images. Needs torch, numpy and Pillow only."""
