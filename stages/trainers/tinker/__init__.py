"""LoRAs trained by a service that speaks Tinker's protocol."""
