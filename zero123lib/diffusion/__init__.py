"""The diffusion model: posed CLIP, UNet, autoencoder, samplers, and the pipeline over them."""
