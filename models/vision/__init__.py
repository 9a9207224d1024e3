"""Vision: how frames are encoded and fed to a language model."""
