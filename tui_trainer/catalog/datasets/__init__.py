"""The data sets that can be named, a file each with its `FACTS`: its name, with dashes, is the setting's word."""
