# The BEAM as a parent: a port with {packet, 4}, jiffy, and one process that asks and listens.
# Reads tasks as lines of JSON on stdin and writes what it saw, as tests/bench/driver.py does for the other peers.
defmodule Driver do
  def main([worker | arguments]) do
    path = System.find_executable(worker) || raise "#{worker} is not there"
    port = Port.open({:spawn_executable, path}, [:binary, :exit_status, packet: 4, args: arguments])
    {:os_pid, worker_pid} = Port.info(port, :os_pid)
    say(%{worker: worker_pid})
    serve(port)
  end

  defp serve(port) do
    case IO.read(:stdio, :line) do
      line when is_binary(line) ->
        task = :jiffy.decode(line, [:return_maps])
        for command <- task["setup"], do: ended(port, command)
        say(measured(port, task))
        serve(port)

      :eof ->
        :ok
    end
  end

  defp ended(port, command) do
    tell(port, command)
    id = command["id"]
    receive_until(fn frame -> frame["type"] == "result" and frame["id"] == id end, port)
  end

  defp receive_until(wanted, port) do
    unless wanted.(frame(port)), do: receive_until(wanted, port)
  end

  defp measured(port, task) do
    state = %{port: port, task: task, next: 1, begun: %{}, deltas: 0, latencies: []}
    then = now()
    state = loop(refill(state))
    expected = task["count"] * task["size"]
    if task["op"] == "stream" and state.deltas < expected, do: raise("#{state.deltas} deltas of #{expected}")
    %{latencies: state.latencies, wall: now() - then, cpu: 0}
  end

  defp refill(%{task: task} = state) do
    free = task["inflight"] - map_size(state.begun)
    left = task["count"] - state.next + 1

    if left == 0 or free == 0 or (task["batch"] and free < task["inflight"]) do
      state
    else
      Enum.reduce(1..min(left, free), state, fn _, state -> begin(state) end)
    end
  end

  defp begin(%{next: number, task: task} = state) do
    if task["pause"] > 0, do: Process.sleep(round(task["pause"] * 1000))
    begun = Map.put(state.begun, number, now())
    tell(state.port, Map.put(task["command"], "id", number))
    %{state | next: number + 1, begun: begun}
  end

  defp loop(%{begun: begun} = state) when map_size(begun) == 0, do: state
  defp loop(state), do: state.port |> frame() |> heard(state) |> loop()

  defp heard(%{"type" => "chunk"}, state), do: %{state | deltas: state.deltas + 1}

  defp heard(%{"type" => "tool_call", "id" => id, "call_id" => call_id}, state) do
    tell(state.port, %{type: "tool_result", id: id, call_id: call_id, result: state.task["tool_result"]})
    state
  end

  defp heard(%{"type" => "result", "id" => id}, state) do
    {then, begun} = Map.pop!(state.begun, id)
    refill(%{state | begun: begun, latencies: [now() - then | state.latencies]})
  end

  defp heard(%{"type" => "error", "message" => message}, _state), do: raise(message)
  defp heard(_ready_or_log, state), do: state

  defp frame(port) do
    receive do
      {^port, {:data, frame}} -> :jiffy.decode(frame, [:return_maps])
      {^port, {:exit_status, status}} -> raise "the worker has ended with status #{status}"
    end
  end

  defp tell(port, command), do: Port.command(port, :jiffy.encode(command))
  defp say(value), do: IO.puts(:jiffy.encode(value))
  defp now, do: :erlang.monotonic_time(:nanosecond) / 1.0e9
end

Driver.main(System.argv())
