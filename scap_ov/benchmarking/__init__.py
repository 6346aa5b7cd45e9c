"""Speed and memory against stock OpenVINO, always as ratios of paired, alternating runs."""
