"""What Reporter and success detector share: how frames are seen and fed to a language model."""
