"""Graph passes, one backend per folder."""
