"""The page as a Hugging Face Space: `python -m app.spaces FOLDER` writes its files."""
