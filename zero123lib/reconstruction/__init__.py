"""From one image to a field and a mesh: recipes, the engine that runs them, its files."""
