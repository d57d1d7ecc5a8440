"""ESP32's processor: its compiler, and an emulated one that counts instructions."""
