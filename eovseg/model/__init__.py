"""The EOV-Seg network, one file per part of the paper's Fig. 4; nothing here reads photos or files of words."""
