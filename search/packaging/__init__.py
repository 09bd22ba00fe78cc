"""What a folder that ships has beside the model: its front end, samples, other formats, a card."""
