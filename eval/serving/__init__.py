"""How fast the service is beside the bare network, and beside other servers over the same model."""
