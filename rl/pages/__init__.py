"""What pages that show data share: a server, chunks of data, base style, address state."""
