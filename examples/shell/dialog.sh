#!/usr/bin/env bash
# A dialogue with one worker: the shell answers a tool call, pays for chunks, cancels a run and ends in order.
# Wants bash, axon-port and jq.
set -euo pipefail

coproc WORKER { axon-port pack | axon-port | axon-port unpack; }
worker=$WORKER_PID # bash forgets WORKER and closes its descriptors when it has ended, so they get names of their own
exec {from}<&"${WORKER[0]}" {to}>&"${WORKER[1]}" {WORKER[1]}>&-
tell() { printf '%s\n' "$1" >&"$to"; }
hear() { IFS= read -r -t 60 -u "$from" frame; } # the next frame, a line of JSON
field() { jq -r ".$1" <<<"$frame"; }

model=$(jq -cn '{script: [{tool_calls: [{name: "weather", args: {city: "Riga"}}]}, {chunks: ["Take ", "a coat."]}]}')
tool=$(jq -cn '{name: "weather", parameters: {type: "object", properties: {city: {type: "string"}}}}')
tell "$(jq -cn --argjson model "$model" --argjson tool "$tool" \
  '{type: "create_agent", id: 1, agent_id: "guide", $model, tools: [$tool]}')"

weather() { echo "8 degrees in $1"; }
tell "$(jq -cn --arg prompt "What shall I wear?" '{type: "stream", id: 2, agent_id: "guide", $prompt, credit: 1}')"
while hear; do
  case "$(field type):$(field id)" in
    tool_call:2)
      answer=$(weather "$(field args.city)")
      tell "$(jq -c --arg answer "$answer" '{type: "tool_result", id, call_id, result: $answer}' <<<"$frame")"
      ;;
    chunk:2) echo "chunk: $(field data)" && tell '{"type": "credit", "id": 2, "n": 1}' ;;
    result:2) echo "answer: $(field result)" && break ;;
    error:*) echo "error: $(field error_type)" >&2 && exit 1 ;;
  esac
done

tell '{"type": "create_agent", "id": 3, "agent_id": "thinker", "model": {"script": [{"text": "42", "delay_ms": 3600000}]}}'
tell '{"type": "run", "id": 4, "agent_id": "thinker", "prompt": "Think", "timeout_ms": 60000}'
tell '{"type": "cancel", "id": 5, "target": 4}'
while hear; do
  [[ "$(field type):$(field id)" == error:4 ]] && echo "the run ended with $(field error_type)" && break
done

exec {to}>&- # the end of its input tells the worker to finish
while hear; do
  [[ "$(field type)" == goodbye ]] && echo "goodbye: $(field reason)"
done
wait "$worker" && echo "exit status 0"
