"""The EOV-Seg network, one module per part of the paper's Fig. 4; nothing here reads photos or vocabulary files."""
