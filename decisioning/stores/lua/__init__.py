"""The server-side steps, in Lua. ``decisioning.stores.loader`` joins the files in the order of their names."""
