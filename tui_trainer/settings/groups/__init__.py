"""The fields of the settings, a file a group. Adding a setting is adding one field to one of them."""
