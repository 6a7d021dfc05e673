"""What the methods of a store that look after it say of what they did."""
