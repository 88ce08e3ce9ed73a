"""What evaluations of video share: clips, metrics of frames and clips, what a page shows of them."""
