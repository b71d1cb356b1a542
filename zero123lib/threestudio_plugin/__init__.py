"""threestudio runs our guidance and our recipes: its adapter, installer, doctor and launcher.

:mod:`zero123lib.threestudio_plugin.guidance` alone imports threestudio; the rest works beside a
clone that cannot be imported, which is when one needs it.
"""
