"""threestudio's own keys that the embedded engine has no use for: listed, and not refused.

Named as threestudio's dataclasses and Lightning's classes have them (threestudio 28d9d80). Where a
``*_type`` names a module of threestudio whose keys are not here, its whole section is passed over.
"""

from __future__ import annotations

# Section -> keys; "*" is a section passed over whole.
IGNORED: dict[str, tuple[str, ...]] = {
    "": ("description", "tag", "use_timestamp", "timestamp", "exp_root_dir", "exp_dir",
         "trial_name", "trial_dir", "n_gpus", "resume", "data_type", "system_type"),
    "data": ("image_path", "default_azimuth_deg", "use_random_camera", "rays_noise_scale",
             "batch_size", "requires_depth", "requires_normal", "rays_d_normalize"),
    "data.random_camera": (
        "eval_height", "eval_width", "eval_batch_size", "n_val_views", "n_test_views",
        "camera_perturb", "center_perturb", "up_perturb", "light_position_perturb",
        "light_distance_range", "eval_elevation_deg", "eval_camera_distance", "eval_fovy_deg",
        "light_sample_strategy", "batch_uniform_azimuth", "progressive_until",
        "rays_d_normalize"),
    "system": ("geometry_type", "geometry_convert_from", "geometry_convert_inherit_texture",
               "geometry_convert_override", "material_type", "background_type", "renderer_type",
               "guidance_type", "prompt_processor_type", "exporter_type", "scheduler", "weights",
               "weights_ignore_modules", "cleanup_after_validation_step",
               "cleanup_after_test_step", "refinement", "ambient_ratio_min"),
    "system.geometry": (
        "radius", "n_input_dims", "n_feature_dims", "density_activation", "density_bias",
        "density_blob_scale", "density_blob_std", "pos_encoding_config", "mlp_network_config",
        "normal_type", "finite_difference_normal_eps", "anneal_density_blob_std_config",
        "isosurface", "isosurface_method", "isosurface_resolution", "isosurface_threshold",
        "isosurface_chunk", "isosurface_coarse_to_fine", "isosurface_deformable_grid",
        "isosurface_remove_outliers", "isosurface_outlier_n_faces_threshold"),
    "system.material": (
        "n_output_dims", "color_activation", "input_feature_dims", "mlp_network_config",
        "requires_normal", "ambient_light_color", "diffuse_light_color", "ambient_only_steps",
        "diffuse_prob", "textureless_prob", "albedo_activation", "soft_shading",
        "ambient_only_on_test"),
    "system.background": ("n_output_dims", "color", "learned", "random_aug", "random_aug_prob",
                          "color_activation"),
    "system.renderer": (
        "radius", "num_samples_per_ray", "eval_chunk_size", "randomized", "near_plane",
        "far_plane", "return_comp_normal", "return_normal_perturb", "estimator", "grid_prune",
        "prune_alpha_threshold", "proposal_network_config", "prop_optimizer_config",
        "prop_scheduler_config", "num_samples_per_ray_proposal",
        "num_samples_per_ray_importance"),
    "system.prompt_processor": ("*",),
    "system.exporter": ("*",),
    "system.loggers": ("*",),
    "system.guidance": (
        "pretrained_config", "vram_O", "cond_image_path", "cond_elevation_deg",
        "cond_azimuth_deg", "cond_camera_distance", "half_precision_weights", "max_items_eval",
        "encoding", "use_ema", "variant", "weighting", "max_batch_size"),
    "system.freq": ("ref_only_steps", "guidance_eval", "n_ref", "ref_or_zero123"),
    "system.loss": ("lambda_depth", "lambda_depth_rel", "lambda_normal",
                    "lambda_normal_consistency", "lambda_laplacian_smoothness"),
    "system.optimizer": ("params",),
    "trainer": (
        "accelerator", "strategy", "devices", "num_nodes", "precision", "logger", "callbacks",
        "fast_dev_run", "max_epochs", "min_epochs", "min_steps", "max_time",
        "limit_train_batches", "limit_val_batches", "limit_test_batches",
        "limit_predict_batches", "overfit_batches", "val_check_interval",
        "check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps",
        "enable_checkpointing", "enable_progress_bar", "enable_model_summary",
        "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
        "deterministic", "benchmark", "inference_mode", "use_distributed_sampler", "profiler",
        "detect_anomaly", "barebones", "plugins", "sync_batchnorm",
        "reload_dataloaders_every_n_epochs", "default_root_dir"),
    "checkpoint": ("dirpath", "filename", "monitor", "verbose", "save_last", "save_top_k",
                   "save_weights_only", "mode", "auto_insert_metric_name",
                   "train_time_interval", "every_n_epochs", "save_on_train_epoch_end",
                   "enable_version_counter"),
}  # fmt: skip

# The modules whose keys are above; another one's are not known here.
TYPES = {
    "geometry": "implicit-volume",
    "material": ("no-material", "diffuse-with-point-light-material"),
    "background": ("solid-color-background", "neural-environment-map-background"),
    "renderer": "nerf-volume-renderer",
}
