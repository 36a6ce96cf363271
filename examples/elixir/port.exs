# A parent in plain Elixir, with a port and jiffy. Wants axon-port on the PATH.
defmodule Parent do
  def tell(port, command), do: Port.command(port, :jiffy.encode(command))

  def listen(port) do
    receive do
      {^port, {:data, frame}} ->
        frame |> :jiffy.decode([:return_maps]) |> heard(port)
        listen(port)

      {^port, {:exit_status, status}} ->
        IO.puts("exit status #{status}")
    after
      60_000 -> raise "the worker is silent"
    end
  end

  defp heard(%{"type" => "tool_call", "id" => run, "call_id" => call, "args" => %{"city" => city}}, port) do
    IO.puts("the model asks for the weather in #{city}")
    tell(port, %{type: "tool_result", id: run, call_id: call, result: %{degrees: 8}})
  end

  defp heard(%{"type" => "chunk", "data" => text}, _port), do: IO.puts("chunk: #{text}")

  defp heard(%{"type" => "result", "id" => 2, "result" => answer}, port) do
    IO.puts("answer: #{answer}")
    tell(port, %{type: "shutdown", id: 3})
  end

  defp heard(%{"type" => "error", "message" => message}, _port), do: raise(message)
  defp heard(_ready_log_or_goodbye, _port), do: :ok
end

worker = System.find_executable("axon-port") || raise "axon-port is not on the PATH"
port = Port.open({:spawn_executable, worker}, [:binary, :exit_status, packet: 4])

script = [%{tool_calls: [%{name: "weather", args: %{city: "Riga"}}]}, %{chunks: ["Take ", "a coat."]}]
tool = %{name: "weather", parameters: %{type: "object", properties: %{city: %{type: "string"}}}}
Parent.tell(port, %{type: "create_agent", id: 1, agent_id: "guide", model: %{script: script}, tools: [tool]})
Parent.tell(port, %{type: "stream", id: 2, agent_id: "guide", prompt: "What shall I wear?"})
Parent.listen(port)
