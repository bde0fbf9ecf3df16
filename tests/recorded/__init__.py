"""Topics as released versions have left them: what a later version has to read, or to refuse in so many words."""
