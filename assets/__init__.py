"""Files that ship with the project; an installed wheel carries this folder as the package `eovseg_assets`."""
