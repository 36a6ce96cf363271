defmodule AxonPort.WorkerTest do
  use ExUnit.Case, async: true

  import AxonPort.RealWorker
  import ExUnit.CaptureLog

  alias AxonPort.{Chunk, Error, Result, Worker}

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

  test "a stream in the background keeps to the credit that it is given", %{worker: worker} do
    {:ok, _} = AxonPort.create_agent(worker, scripted("creditor", [%{chunks: ["a", "b", "c"]}]))
    {:ok, ref} = AxonPort.run(worker, "creditor", "go", stream: true, credit: 1)
    assert_receive {:axon_port, ^ref, {:chunk, %Chunk{seq: 0, data: "a"}}}, @patience
    # The pong comes after whatever was sent before it.
    {:ok, _pong} = AxonPort.ping(worker, timeout: @patience)
    refute_received {:axon_port, ^ref, _}
    :ok = AxonPort.credit(worker, ref, 10)
    assert_receive {:axon_port, ^ref, {:chunk, %Chunk{seq: 1}}}, @patience
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "abc"}}}, @patience
    assert :ok = AxonPort.credit(worker, ref, 10)
  end

  test "a stream begins when it is enumerated, and anew each time", %{worker: worker} do
    stream = AxonPort.run_stream(worker, scripted("lazy", [%{text: "x"}]), "go")
    {:ok, agents} = AxonPort.list_agents(worker)
    refute "lazy" in Enum.map(agents, & &1["agent_id"])
    assert [%Result{run_id: one}] = Enum.take(stream, -1)
    assert [%Result{run_id: other}] = Enum.take(stream, -1)
    assert one != other
  end

  test "a stream that is left cancels its run and leaves no message", %{worker: worker} do
    agent = scripted("left", [%{chunks: ["a", "b"], chunk_delay_ms: 3_600_000}])
    assert [%Chunk{data: "a"}] = worker |> AxonPort.run_stream(agent, "go") |> Enum.take(1)
    assert_no_runs(worker)
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "a stream goes on in the process that began it, and in no other", %{worker: worker} do
    agent = scripted("owned", [%{chunks: ["a", "b"], chunk_delay_ms: 3_600_000}])

    begin = fn ->
      stream = AxonPort.run_stream(worker, agent, "go")
      Enumerable.reduce(stream, {:cont, []}, fn chunk, acc -> {:suspend, [chunk | acc]} end)
    end

    for command <- [:cont, :halt] do
      {:suspended, [%Chunk{data: "a"}] = acc, continue} = begin.()

      elsewhere =
        Task.async(fn ->
          try do
            continue.({command, acc})
          rescue
            error in ArgumentError -> error.message
          end
        end)

      case {command, Task.await(elsewhere, @patience)} do
        {:cont, message} -> assert message =~ inspect(self())
        {:halt, outcome} -> assert {:halted, ^acc} = outcome
      end

      # Either way it was left.
      assert_no_runs(worker)
    end
  end

  test "a stream of a run that fails raises its error", %{worker: worker} do
    agent = scripted("failing", [%{error: %{status: 429, retry_after_ms: 7}}])
    error = assert_raise Error, fn -> worker |> AxonPort.run_stream(agent, "go") |> Enum.to_list() end
    assert %{reason: :model_http_error, retryable: true, retry_after_ms: 7} = error
  end

  test "a caller that dies has its run cancelled, however it asked", %{worker: worker} do
    agent = scripted("endless", [%{text: "x", delay_ms: 3_600_000}])

    asking = [
      fn -> AxonPort.run_sync(worker, agent, "go") end,
      fn -> {:ok, _ref} = AxonPort.run(worker, agent, "go") && receive(do: (:never -> :ok)) end,
      fn -> worker |> AxonPort.run_stream(agent, "go") |> Enum.to_list() end
    ]

    callers = for ask <- asking, do: spawn(ask)
    eventually(fn -> Worker.info(worker).inflight == 3 end, "not all runs are under way")
    for caller <- callers, do: Process.exit(caller, :kill)
    assert_no_runs(worker)
  end

  test "a caller that dies while it opens a run for somebody else leaves neither a relay nor the run" do
    worker = start_worker()
    {:ok, _} = AxonPort.create_agent(worker, scripted("endless", [%{text: "x", delay_ms: 3_600_000}]))
    owner = start_supervised!({Agent, fn -> :lives_on end})
    :sys.suspend(worker)

    caller =
      spawn(fn ->
        receive do: (:go -> :ok)
        AxonPort.run(worker, "endless", "go", owner: owner)
      end)

    :erlang.trace(caller, true, [:procs])
    send(caller, :go)
    assert_receive {:trace, ^caller, :spawn, relay, _function}, @patience
    watched = Process.monitor(relay)
    eventually(fn -> waiting_calls(worker) == 1 end, "the run was not asked for")

    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^watched, :process, ^relay, :normal}, @patience
    :sys.resume(worker)
    assert_no_runs(worker)
    assert Agent.get(owner, & &1) == :lives_on
  end

  test "somebody else for whom a run was opened gets its end, whatever becomes of the caller", %{
    worker: worker
  } do
    {:ok, _} = AxonPort.create_agent(worker, scripted("gift", [%{text: "done"}]))
    test = self()
    ref = make_ref()
    caller = spawn(fn -> {:ok, ^ref} = AxonPort.run(worker, "gift", "go", owner: test, ref: ref) end)
    watched = Process.monitor(caller)
    assert_receive {:DOWN, ^watched, :process, ^caller, :normal}, @patience
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "done"}}}, @patience
  end

  defp waiting_calls(worker) do
    {:messages, messages} = Process.info(worker, :messages)
    Enum.count(messages, &match?({:"$gen_call", _from, {:open, _request, _sink}}, &1))
  end

  test "a run that takes too long ends with what it has", %{worker: worker} do
    # Once this is answered the worker has imported all it needs: nobody else's clock is to run out first.
    {:ok, _agents} = AxonPort.list_agents(worker, timeout: @patience)
    agent = scripted("dawdling", [%{text: "x", delay_ms: 3_600_000}])
    assert {:error, %Error{reason: :timeout} = error} = AxonPort.run_sync(worker, agent, "go", timeout: 50)
    assert Error.retryable?(error) and is_list(error.messages) and is_map(error.usage)
  end

  test "what is enqueued reaches a run under way", %{worker: worker} do
    test = self()
    tool = [name: "wait", run: fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, 1})) end]
    agent = scripted("open", [%{tool_calls: [%{name: "wait"}]}, %{text: "x"}], tools: [tool])
    {:ok, ref} = AxonPort.run(worker, agent, "go")
    assert_receive {:tool, tool}, @patience
    assert {:ok, true} = AxonPort.enqueue(worker, ref, "and be brief")
    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, %Result{messages: messages}}}, @patience
    assert inspect(messages, limit: :infinity) =~ "and be brief"
    assert {:ok, false} = AxonPort.enqueue(worker, ref, "too late")
  end

  test "an option that there is not, and what is no agent, raise", %{worker: worker} do
    assert_raise ArgumentError, ~r/:colour/, fn -> AxonPort.run_sync(worker, "poet", "go", colour: 1) end

    assert_raise ArgumentError, ~r/:timeout/, fn ->
      AxonPort.run_sync(worker, "poet", "go", timeout: :infinity)
    end

    for option <- [credit: 1, window: 1, stream: true, owner: "me", ref: 1] do
      named = ~r/#{inspect(elem(option, 0))}/
      assert_raise ArgumentError, named, fn -> AxonPort.run_sync(worker, "poet", "go", [option]) end
    end

    for option <- [attempts: 2, window: 1, stream: 3] do
      named = ~r/#{inspect(elem(option, 0))}/
      assert_raise ArgumentError, named, fn -> AxonPort.run(worker, "poet", "go", [option]) end
    end

    assert_raise ArgumentError, fn -> AxonPort.run_sync(worker, Enum, "go") end
    assert_raise ArgumentError, fn -> AxonPort.run_stream(worker, "poet", "go", window: 0) end
  end

  test "what has no form in JSON is an error of the caller's alone", %{worker: worker} do
    assert {:error, %Error{reason: :unencodable}} = AxonPort.run_sync(worker, "poet", <<255>>)
    assert {:error, %Error{reason: :unencodable}} = AxonPort.run(worker, "poet", "go", deps: %{pid: self()})
  end

  test "an agent that no worker can be told of is its caller's mistake, and harms nobody", %{worker: worker} do
    test = self()
    tool = [name: "wait", run: fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, 1})) end]
    innocent = scripted("innocent", [%{tool_calls: [%{name: "wait"}]}, %{text: "x"}], tools: [tool])
    {:ok, ref} = AxonPort.run(worker, innocent, "go")
    assert_receive {:tool, tool}, @patience

    for fields <- [
          [deps: %{caller: self()}],
          [model_settings: %{stop: <<255>>}],
          [output: AxonPort.WorkerTest.NoSuchAnswer]
        ] do
      agent = scripted("guilty", [%{text: "x"}], fields)
      assert_raise ArgumentError, fn -> AxonPort.run_sync(worker, agent, "go") end
      assert_raise ArgumentError, fn -> AxonPort.run(worker, agent, "go") end
      assert_raise ArgumentError, fn -> worker |> AxonPort.run_stream(agent, "go") |> Enum.to_list() end
      assert_raise ArgumentError, fn -> AxonPort.create_agent(worker, agent) end
    end

    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "x"}}}, @patience
  end

  test "a time that is none raises in whoever gives it", %{worker: worker} do
    for timeout <- ["5000", -1, 0, 1.0e3, 2 ** 64, :infinity] do
      assert_raise ArgumentError, ~r/:timeout/, fn -> AxonPort.ping(worker, timeout: timeout) end

      assert_raise ArgumentError, ~r/:timeout/, fn ->
        AxonPort.run_sync(worker, "poet", "go", timeout: timeout)
      end
    end
  end

  test "what is nested deeper than a worker reads is an error at once, wherever it stands", %{worker: worker} do
    nested = fn levels -> Enum.reduce(1..levels, 1, fn _, value -> [value] end) end
    agent = scripted("nested", [%{text: "x"}])
    assert {:ok, %Result{}} = AxonPort.run_sync(worker, agent, "go", deps: nested.(199))
    assert {:error, %Error{reason: :unencodable}} = AxonPort.run_sync(worker, agent, "go", deps: nested.(200))
    deep = scripted("deep", [%{text: "x"}], deps: nested.(200))
    assert {:error, %Error{reason: :unencodable}} = AxonPort.run_sync(worker, deep, "go")
    assert {:error, %Error{reason: :unencodable}} = AxonPort.create_agent(worker, deep)
  end

  test "attempts are a number, and no wait between them is longer than the time of the run", %{worker: worker} do
    for attempts <- ["2", 0, 1.5] do
      assert_raise ArgumentError, ~r/:attempts/, fn ->
        AxonPort.run_sync(worker, "poet", "go", attempts: attempts)
      end
    end

    for retry_after_ms <- [3_600_000, 5_000_000_000] do
      busy = scripted("busy", [%{error: %{status: 429, retry_after_ms: retry_after_ms}}])

      assert {:error, %Error{reason: :model_http_error, retry_after_ms: ^retry_after_ms}} =
               AxonPort.run_sync(worker, busy, "go", attempts: 2, timeout: @patience)
    end
  end

  test "a server that is none raises, and leaves no process behind" do
    caller =
      spawn(fn ->
        receive do: (:go -> :ok)
        assert_raise ArgumentError, ~r/no server/, fn -> AxonPort.run("nonsense", "poet", "go") end
        assert {:error, %Error{reason: :not_ready}} = AxonPort.run(:nobody, "poet", "go")
      end)

    :erlang.trace(caller, true, [:procs])
    send(caller, :go)
    assert_receive {:trace, ^caller, :exit, :normal}, @patience
    refute_received {:trace, ^caller, :spawn, _relay, _function}
  end

  test "a crash report shows neither keys nor what was said" do
    Process.flag(:trap_exit, true)
    {:ok, worker} = Worker.start_link(misbehaving(:silent, env: [{"KEY", "sk-secret"}]))
    {:ok, _info} = Worker.await_ready(worker, @patience)
    model = %{name: "m", base_url: "http://127.0.0.1/v1", api_key: "sk-secret"}
    agent = AxonPort.Agent.new(id: "a", model: model)
    {:ok, _ref} = AxonPort.run(worker, agent, "secret", deps: %{token: "tk-secret"})
    refute inspect(:sys.get_state(worker), limit: :infinity) =~ "secret"
    refute inspect(:sys.get_status(worker), limit: :infinity) =~ "secret"

    report =
      capture_log(fn ->
        # As when its parent raises.
        Process.exit(worker, :from_above)
        assert_receive {:EXIT, ^worker, :from_above}, @patience
      end)

    assert report =~ "from_above" and report =~ "inflight: 1"
    refute report =~ "secret"
  end

  test "a prompt longer than a frame is refused, and the worker goes on" do
    worker = start_worker(max_frame_bytes: 2000)
    agent = scripted("short", [%{text: "x"}])
    long = String.duplicate("x", 2000)
    assert {:error, %Error{reason: :frame_too_large}} = AxonPort.run_sync(worker, agent, long)
    assert {:ok, %Result{output: "x"}} = AxonPort.run_sync(worker, agent, "go", messages: :none)
  end

  test "a name without a worker is an error" do
    assert {:error, %Error{reason: :not_ready}} = AxonPort.run_sync(:nobody, "poet", "go")
    assert {:error, %Error{reason: :not_ready}} = AxonPort.ping(:nobody)
    assert_raise Error, fn -> :nobody |> AxonPort.run_stream("poet", "go") |> Enum.to_list() end
  end

  # The worker's last word on a run may still be under way when it counts none any more.
  defp assert_no_runs(worker) do
    eventually(
      fn -> match?({:ok, %{"inflight" => 0}}, AxonPort.ping(worker, timeout: @patience)) end,
      "the worker's runs go on"
    )

    eventually(fn -> match?(%{inflight: 0, calls: 0}, Worker.info(worker)) end, "the owner's runs go on")
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
