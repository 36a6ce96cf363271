defmodule AxonPort.RelayTest do
  # Whoever is in code that is loaded twice is killed: this test is alone.
  use ExUnit.Case, async: false

  import AxonPort.RealWorker

  alias AxonPort.Result

  @patience AxonPort.RealWorker.patience()

  test "a relay outlives the loading of its code" do
    worker = start_worker()
    test = self()
    tool = [name: "wait", run: fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, 1})) end]
    agent = scripted("relayed", [%{tool_calls: [%{name: "wait"}]}, %{text: "x"}], tools: [tool])
    {:ok, ref} = AxonPort.run(worker, agent, "go")
    assert_receive {:tool, tool}, @patience

    for _twice <- 1..2 do
      {module, binary, file} = :code.get_object_code(AxonPort.Relay)
      :code.purge(module)
      {:module, ^module} = :code.load_binary(module, file, binary)
    end

    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "x"}}}, @patience
  end
end
