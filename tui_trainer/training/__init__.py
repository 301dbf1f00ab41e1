"""The training itself. The only package that imports torch, and only the training thread may run what is in it."""
