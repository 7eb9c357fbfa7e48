"""Jobs of triggers: firings are made of what happens, decided, and delivered."""
