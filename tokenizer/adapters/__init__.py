"""Other people's autoencoders behind our interface."""
