"""The database: connections, our own tables, the ledger of claims, the rows of the user's model."""
