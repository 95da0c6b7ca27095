#!/bin/sh
# Prints the GPUs of this machine as Spark's resource discovery wants them: {"name": "gpu", "addresses": ["0", "1"]}
addresses=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -sd , -)
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
