defmodule AxonPort.WorkerTest do
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Chunk, Error, Result}

  @patience AxonPort.RealWorker.patience()

  setup_all do
    %{worker: start_worker()}
  end

  test "a run has its result", %{worker: worker} do
    {:ok, %{"agent_id" => "poet"}} = AxonPort.create_agent(worker, scripted("poet", [%{text: "Roses"}]))

    assert {:ok, %Result{output: "Roses", status: :complete, agent_id: "poet"} = result} =
             AxonPort.run_sync(worker, "poet", "A line")

    assert result.usage["requests"] == 1
    assert [%{"kind" => "request"}, %{"kind" => "response"}] = result.messages
  end

  test "a run of nobody is an error with a reason", %{worker: worker} do
    assert {:error, %Error{reason: :agent_not_found, error_type: "AgentNotFound", retryable: false}} =
             AxonPort.run_sync(worker, "nobody", "Hello")
  end

  test "a stream is chunks and then the result", %{worker: worker} do
    {:ok, _} = AxonPort.create_agent(worker, scripted("streamer", [%{chunks: ["a", "b", "c"]}]))
    elements = worker |> AxonPort.run_stream("streamer", "go") |> Enum.to_list()
    assert {chunks, [%Result{output: "abc"}]} = Enum.split(elements, -1)
    assert Enum.map_join(chunks, fn %Chunk{kind: :text, data: text} -> text end) == "abc"
  end

  test "a run in the background sends its result", %{worker: worker} do
    {:ok, _} = AxonPort.create_agent(worker, scripted("later", [%{text: "done"}]))
    {:ok, ref} = AxonPort.run(worker, "later", "go")
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "done"}}}, @patience
  end

  test "a run in the background can be cancelled", %{worker: worker} do
    {:ok, _} = AxonPort.create_agent(worker, scripted("slow", [%{text: "done", delay_ms: 3_600_000}]))
    {:ok, ref} = AxonPort.run(worker, "slow", "go")
    assert {:ok, true} = AxonPort.cancel(worker, ref)
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :cancelled}}}, @patience
    assert {:ok, false} = AxonPort.cancel(worker, ref)
  end

  test "a worker that is killed leaves nobody waiting" do
    worker = start_worker()
    monitor = Process.monitor(worker)
    {:ok, _} = AxonPort.create_agent(worker, scripted("slow", [%{text: "done", delay_ms: 3_600_000}]))
    refs = for _ <- 1..10, {:ok, ref} = AxonPort.run(worker, "slow", "go"), do: ref
    signal(os_pid(worker), "KILL")

    for ref <- refs,
        do: assert_receive({:axon_port, ^ref, {:error, %Error{reason: :worker_exited}}}, @patience)

    assert_receive {:DOWN, ^monitor, :process, _, {:shutdown, {:worker_exited, 137}}}, @patience
    refute_received {:axon_port, _, _}
  end

  test "ping and stats", %{worker: worker} do
    assert {:ok, %{"status" => "ok"}} = AxonPort.ping(worker)
    assert {:ok, %{"runs" => _}} = AxonPort.stats(worker)
  end

  test "a worker that is stopped takes its process along" do
    worker = start_worker()
    os_pid = os_pid(worker)
    assert running?(os_pid)
    GenServer.stop(worker)
    assert_gone(os_pid)
  end
end
