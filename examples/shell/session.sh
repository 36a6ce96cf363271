#!/usr/bin/env bash
# A session in a shell: lines of JSON become frames, the worker answers, frames become lines again.
# Wants axon-port and jq on the PATH. The end of the input is the order to finish and go.
set -euo pipefail

axon-port pack <<'COMMANDS' | axon-port | axon-port unpack | jq -c 'del(.messages, .usage, .run_id, .duration_ms)'
{"type": "create_agent", "id": 1, "agent_id": "poet", "model": {"script": [{"chunks": ["Roses ", "are ", "red."]}]}}
{"type": "run", "id": 2, "agent_id": "poet", "prompt": "A line, please"}
{"type": "stream", "id": 3, "agent_id": "poet", "prompt": "Word by word, please"}
{"type": "run", "id": 4, "agent_id": "painter", "prompt": "Who are you?"}
COMMANDS
