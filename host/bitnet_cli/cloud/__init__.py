"""The MQTT side: where a broker is, and what units publish there."""
