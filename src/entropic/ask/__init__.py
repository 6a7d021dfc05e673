"""Looking at what is stored: queries, tables, labelled arrays, and why a set is a hit or a miss."""
