"""The phrases that every latency, picture and comparison of the documents is made with."""

REFERENCE_PHRASES = (
    "What's the temp?",
    "What's the battery level?",
    "Set the kitchen to 21 degrees",
    "Turn off the lights in the living room",
    "How wet is the soil in zone 2?",
    "Water the tomato bed for 10 minutes",
    "Lock the front door",
    "Is the pump vibrating?",
    "Wake me at half past six",
    "Who won the game last night?",
)
