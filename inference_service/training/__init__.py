"""How the model that ships was made; needs the `yolo` extra, and nothing at run time imports it."""
