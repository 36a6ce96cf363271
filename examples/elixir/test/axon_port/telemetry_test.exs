defmodule AxonPort.TelemetryTest do
  # Handlers hear of everything on this node: these tests are alone with it.
  use ExUnit.Case, async: false

  import AxonPort.RealWorker
  import ExUnit.CaptureLog

  alias AxonPort.{Result, Telemetry}

  @patience AxonPort.RealWorker.patience()

  setup_all do
    %{worker: start_worker()}
  end

  setup do
    test = self()
    handler = make_ref()

    :ok =
      Telemetry.attach(
        handler,
        Telemetry.events(),
        fn event, m, meta, pid -> send(pid, {event, m, meta}) end,
        test
      )

    on_exit(fn -> Telemetry.detach(handler) end)
    %{handler: handler}
  end

  defp script(turns, tools \\ []), do: scripted("measured", turns, tools: tools)

  # The event of this kind and phase that this test waits for.
  defp assert_event(kind, phase) do
    assert_receive {[:axon_port, ^kind, ^phase], measurements, metadata}, @patience
    {measurements, metadata}
  end

  test "a run with a tool tells of both, and what it cost", %{worker: worker} do
    tool = [name: "look", run: fn _args -> {:ok, 1} end]

    {:ok, _} =
      AxonPort.run_sync(worker, script([%{tool_calls: [%{name: "look"}]}, %{text: "x"}], [tool]), "go")

    {%{system_time: _}, %{agent_id: "measured", ref: ref}} = assert_event(:run, :start)
    {_, %{tool: "look", call_id: call_id, ref: ^ref}} = assert_event(:tool, :start)
    {%{duration: _}, %{tool: "look", call_id: ^call_id}} = assert_event(:tool, :stop)
    {measurements, %{ref: ^ref, worker: ^worker}} = assert_event(:run, :stop)

    assert %{duration: _, requests: 2, tool_calls: 1, input_tokens: input, output_tokens: output} =
             measurements

    assert input > 0 and output > 0
    refute_received {[:axon_port, :run, _], _, _}
  end

  test "what fails is an exception with its reason", %{worker: worker} do
    tool = [name: "look", run: fn _args -> {:error, "gone"} end]
    agent = script([%{tool_calls: [%{name: "look"}]}], [tool])
    {:error, _} = AxonPort.run_sync(worker, agent, "go")
    {_, %{reason: "gone"}} = assert_event(:tool, :exception)
    {%{duration: _}, %{reason: :tool_error, error_type: "ToolError"}} = assert_event(:run, :exception)
  end

  test "a stream that is left ends as abandoned, its tool as cancelled", %{worker: worker} do
    test = self()
    tool = [name: "wait", run: fn _args -> send(test, :called) && receive(do: (:never -> {:ok, 1})) end]
    agent = script([%{chunks: ["a"], tool_calls: [%{name: "wait"}]}], [tool])
    events = AxonPort.run_stream(worker, agent, "go", events: [:text, :tool_call])
    assert [%AxonPort.Chunk{}] = Enum.take(events, 1)
    {_, %{reason: :abandoned}} = assert_event(:stream, :exception)

    receive do
      {[:axon_port, :tool, :start], _, _} ->
        assert {_, %{reason: :cancelled}} = assert_event(:tool, :exception)
    after
      # Left before the tool was called.
      0 -> :ok
    end
  end

  test "a worker that is stopped has stopped, one that is killed has failed" do
    stopped = start_worker()
    {_, %{worker: ^stopped}} = assert_event(:worker, :start)
    killed = start_worker()
    {_, %{worker: ^killed}} = assert_event(:worker, :start)
    GenServer.stop(stopped)
    {%{duration: _}, %{worker: ^stopped}} = assert_event(:worker, :stop)
    signal(os_pid(killed), "KILL")
    {_, %{worker: ^killed, reason: {:shutdown, {:worker_exited, 137}}}} = assert_event(:worker, :exception)
  end

  test "what a worker's process had begun when it was killed has an end, and its tools are killed" do
    pool = start_pool(workers: 1)
    test = self()

    tool = [
      name: "wait",
      run: fn _args -> send(test, {:tool, self()}) && receive(do: (:never -> {:ok, 1})) end
    ]

    approve = fn _request, _context -> send(test, {:asked, self()}) && receive(do: (:never -> :approve)) end
    asking = [name: "ask", approve: approve, run: fn _args -> {:ok, 1} end]
    calls = [%{name: "wait"}, %{name: "ask"}]
    {:ok, ref} = AxonPort.run(pool, script([%{tool_calls: calls}], [tool, asking]), "go")
    assert_receive {:tool, tool}, @patience
    assert_receive {:asked, asked}, @patience
    for task <- [tool, asked], do: Process.monitor(task)
    {worker, _os_pid} = any_worker(pool)
    Process.exit(worker, :kill)
    for task <- [tool, asked], do: assert_receive({:DOWN, _, :process, ^task, :killed}, @patience)
    {%{duration: _}, %{reason: :cancelled, tool: "wait"}} = assert_event(:tool, :exception)
    {%{requests: 0}, %{reason: :worker_exited, ref: ^ref, worker: ^worker}} = assert_event(:run, :exception)
    assert_receive {[:axon_port, :worker, :exception], _, %{worker: ^worker, reason: :killed}}, @patience
    assert_receive {:axon_port, ^ref, {:error, %AxonPort.Error{reason: :worker_exited}}}, @patience
    refute_received {[:axon_port, :tool, :exception], _, _}
  end

  test "a handler may use tasks and ports that are linked, and crash with them", %{worker: worker} do
    test = self()

    handler = fn _event, _measurements, _metadata, _config ->
      {task, monitor} = spawn_monitor(fn -> :ok end) |> tap(fn {pid, _} -> Process.link(pid) end)
      receive do: ({:DOWN, ^monitor, :process, ^task, _reason} -> :ok)
      {_output, 0} = System.cmd("true", [])
      send(test, :handled)
      Task.await(Task.async(fn -> exit(:handlers_own) end))
    end

    :ok = Telemetry.attach(:linked, [[:axon_port, :run, :stop]], handler)
    assert {:ok, %Result{}} = AxonPort.run_sync(worker, script([%{text: "x"}]), "go")
    assert_receive :handled, @patience
    assert {:ok, %Result{}} = AxonPort.run_sync(worker, script([%{text: "x"}]), "go")
    assert {:error, :not_found} = Telemetry.detach(:linked)
  end

  test "a handler that raises is detached, and the run does not mind", %{worker: worker} do
    :ok = Telemetry.attach(:bad, [[:axon_port, :run, :start]], fn _, _, _, _ -> raise "no" end)
    agent = script([%{text: "x"}])

    log =
      capture_log(fn ->
        assert {:ok, %Result{}} = AxonPort.run_sync(worker, agent, "go")
        assert {:ok, %Result{}} = AxonPort.run_sync(worker, agent, "go")
      end)

    assert [_once, _message] = String.split(log, ":bad")
    assert {:error, :not_found} = Telemetry.detach(:bad)
  end

  test "a handler without a clause for an event is detached, and its configuration is in no log", %{
    worker: worker
  } do
    handler = fn _event, _measurements, %{never: _}, _config -> :ok end
    :ok = Telemetry.attach(:strict, [[:axon_port, :run, :start]], handler, %{token: "secret"})
    log = capture_log(fn -> AxonPort.run_sync(worker, script([%{text: "x"}]), "go") end)
    assert log =~ ":strict" and log =~ "FunctionClauseError"
    refute log =~ "secret"
  end

  test "a handler is attached once", %{handler: handler} do
    assert {:error, :already_exists} = Telemetry.attach(handler, Telemetry.events(), fn _, _, _, _ -> :ok end)
  end

  test "what is no event is refused" do
    for events <- [[:axon_port, :run, :stop], [[:axon_port, :run, :end]], [[]]] do
      assert_raise ArgumentError, ~r/no event/, fn ->
        Telemetry.attach(:flat, events, fn _, _, _, _ -> :ok end)
      end
    end

    assert {:error, :not_found} = Telemetry.detach(:flat)
  end

  test "a handler stays when telemetry is loaded after it was attached, and hears once", %{
    worker: worker,
    handler: handler
  } do
    # Stands in for the library, which may be loaded at any time by whoever uses it first.
    telemetry = """
    defmodule :telemetry do
      def execute(event, _measurements, _metadata), do: send(#{inspect(__MODULE__)}, {:through_telemetry, event}) && :ok
    end
    """

    Process.register(self(), __MODULE__)
    Code.eval_string(telemetry)

    on_exit(fn ->
      :code.delete(:telemetry)
      :code.purge(:telemetry)
    end)

    {:ok, _} = AxonPort.run_sync(worker, script([%{text: "x"}]), "go")
    assert_event(:run, :stop)
    assert_receive {:through_telemetry, [:axon_port, :run, :stop]}, @patience
    refute_received {[:axon_port, :run, :stop], _, _}
    assert :ok = Telemetry.detach(handler)
  end
end
