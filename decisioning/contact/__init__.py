"""Contact policy: how often, when and after what a customer may be offered something."""
