"""Pictures for training and measuring, decoded safely, augmented reproducibly."""
