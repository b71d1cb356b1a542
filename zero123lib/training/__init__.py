"""Training and fine-tuning: ``zero123 train``.

What happens is said by a config (:mod:`~zero123lib.training.config`), read from YAML by
:mod:`~zero123lib.training.config_files`. The packaged presets are examples: ``zero123`` is the
paper's recipe, ``lora`` fine-tunes on a small GPU, ``finetune`` any model on a folder of renders,
``distil`` makes a student of few steps of a model, ``tiny`` is the bundled model from nothing.

From Python, a run is a state and a generator::

    config = read_config("finetune", [("data.path", "renders/")])
    state = start(config)
    for progress in train(state, training_pairs(config, state.pipe)):
        print(progress.step, progress.loss)
    write_model(Path("run"), state)
"""
