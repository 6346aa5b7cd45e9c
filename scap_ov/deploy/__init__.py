"""Put a model and all that it needs into one archive for a device without Python."""
