"""Training the bundled model: pairs of views of procedural scenes, joint UNet, CLIP and projection.

    torchrun --nproc-per-node 2 -m zero123lib.training --out runs/tiny --minutes 120
    python -m zero123lib.training --out runs/tiny --export zero123lib/models/tiny

One process per core, each with one thread: two threads of one process wait for each other at
every operator, which is ruinous as soon as anything else runs on the machine.

The recipe is the paper's (section 3.2): pairs drawn from the views of one object, condition
dropout by group from one uniform, AdamW, warm-up. It differs where a model trained from nothing
must: the CLIP tower is trained too, all layers share one learning rate, and the UNet predicts
the clean latent (diffusers' ``prediction_type="sample"``) under a schedule that ends in pure noise.
"""
