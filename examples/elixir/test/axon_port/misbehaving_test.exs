defmodule AxonPort.MisbehavingTest do
  @moduledoc "Whatever a worker does, each caller is answered once, and no process is left."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Error, Pool, Random, Result, Worker}

  @patience AxonPort.RealWorker.patience()

  defp start(way, options \\ []) do
    Process.flag(:trap_exit, true)
    # The worker may be gone before it could be asked for its process number: that comes by itself.
    {:ok, worker} = Worker.start_link([guard: self()] ++ misbehaving(way, options))
    assert_received {:axon_port_started, ^worker, os_pid}
    {worker, os_pid}
  end

  # The worker's process ends for this reason, its caller got this error once, and the operating system's process is gone.
  defp assert_ends({worker, os_pid}, ref, exit_reason, error_reason) do
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: ^error_reason}}}, @patience
    assert_receive {:EXIT, ^worker, {:shutdown, ^exit_reason}}, @patience
    assert_gone(os_pid)
    refute_received {:axon_port, ^ref, _second}
  end

  defp run({worker, _os_pid}) do
    {:ok, ref} = AxonPort.run(worker, "agent", "go")
    ref
  end

  test "one that exits at once" do
    Process.flag(:trap_exit, true)
    {:ok, worker} = Worker.start_link(misbehaving(:exits_at_once))
    assert {:error, %Error{reason: :worker_exited}} = Worker.await_ready(worker, @patience)
    assert_receive {:EXIT, ^worker, {:shutdown, {:worker_exited, 3}}}, @patience
  end

  test "one that there is not" do
    Process.flag(:trap_exit, true)
    assert {:error, %Error{reason: :worker_not_started}} = Worker.start_link(command: ["no-such-program"])
  end

  test "one that cannot be executed" do
    Process.flag(:trap_exit, true)
    assert {:error, %Error{reason: :worker_not_started}} = Worker.start_link(command: [__DIR__])
  end

  test "one that is never ready" do
    {worker, os_pid} = start(:never_ready, ready_timeout: 100)
    assert_receive {:EXIT, ^worker, {:shutdown, :not_ready}}, @patience
    assert_gone(os_pid)
  end

  test "one that is not ready in time: whoever waits is told" do
    {worker, _os_pid} = started = start(:never_ready, ready_timeout: @patience)
    ref = run(started)
    # As its timer does.
    send(worker, :not_ready)
    assert_ends(started, ref, :not_ready, :not_ready)
  end

  test "one that speaks another protocol" do
    worker = start(:other_protocol)
    assert_ends(worker, run(worker), :protocol_violation, :protocol_violation)
  end

  test "one that writes frames of something else" do
    worker = start(:no_json)
    assert_ends(worker, run(worker), :protocol_violation, :protocol_violation)
  end

  test "one that writes a result without id" do
    worker = start(:no_event)
    assert_ends(worker, run(worker), :protocol_violation, :protocol_violation)
  end

  test "one that dies inside a frame" do
    worker = start(:dies_in_a_frame)
    assert_ends(worker, run(worker), {:worker_exited, 4}, :worker_exited)
  end

  test "one that says goodbye and stays" do
    worker = start(:goodbye_and_stays)
    assert_ends(worker, run(worker), {:worker_exited, :goodbye}, :worker_exited)
  end

  test "one that answers twice, and what nobody asked, harms nobody" do
    {worker, _os_pid} = start(:answers_twice)
    ref = make_ref()
    {:ok, _id} = open(worker, "ping", ref)
    assert_receive {:axon_port, ^ref, {:result, %{"first" => true}}}, @patience
    assert {:ok, %{}} = AxonPort.ping(worker, timeout: @patience)
    refute_received {:axon_port, _ref, _second}
  end

  test "one whose frames come in pieces brings back whatever it was given" do
    {worker, _os_pid} = start(:stutters)

    for seed <- 1..200 do
      term = Random.json(seed)
      assert {:ok, %Result{output: ^term}} = AxonPort.run_sync(worker, "a", "go", deps: term), "seed #{seed}"
    end
  end

  test "one that never answers: the caller's time runs out, and the run is cancelled" do
    {worker, _os_pid} = start(:silent)
    assert {:error, %Error{reason: :owner_timeout}} = AxonPort.ping(worker, timeout: 10)
    assert %{inflight: 0} = Worker.info(worker)
  end

  test "one that does not read never suspends its owner" do
    {worker, os_pid} = start(:deaf, max_queued_bytes: 1_000_000)
    {:ok, _info} = Worker.await_ready(worker, @patience)
    prompt = String.duplicate("x", 600_000)
    refs = for _ <- 1..4, {:ok, ref} = AxonPort.run(worker, "agent", prompt), do: ref
    # Two are in the pipe's queue; the others were refused, and the owner answers as ever.
    assert %{inflight: 2, queued_bytes: queued} = Worker.info(worker)
    assert queued > 1_000_000

    for ref <- Enum.drop(refs, 2),
        do: assert_receive({:axon_port, ^ref, {:error, %Error{reason: :overloaded}}}, @patience)

    signal(os_pid, "KILL")

    for ref <- Enum.take(refs, 2),
        do: assert_receive({:axon_port, ^ref, {:error, %Error{reason: :worker_exited}}}, @patience)

    assert_receive {:EXIT, ^worker, {:shutdown, {:worker_exited, _epipe_or_137}}}, @patience
  end

  test "one that ignores the end of its input is gone when its owner stops" do
    {worker, os_pid} = start(:deaf)
    {:ok, _info} = Worker.await_ready(worker, @patience)
    Process.exit(worker, :brutal)
    assert_receive {:EXIT, ^worker, :brutal}, @patience
    assert_gone(os_pid)
  end

  test "an answer to a call that the worker complains of becomes one that ends the run" do
    {worker, _os_pid} = start(:complains)

    agent =
      scripted("a", [%{text: "x"}],
        tools: [[name: "echo", run: fn _args -> {:ok, "x", [%{type: "binary"}]} end]]
      )

    assert {:ok, %{output: "content"}} = AxonPort.run_sync(worker, agent, "go")
  end

  describe "the pool" do
    defp start_ill(way, options) do
      options =
        Keyword.merge(
          [name: unique_name(), workers: 1, backoff: [base: 1, max: 10]],
          misbehaving(way, options)
        )

      start_supervised!({AxonPort.Supervisor, options})
      options[:name]
    end

    defp replaced(pool) do
      {worker, os_pid} = any_worker(pool)
      assert_gone(os_pid)
      assert_replaced(pool, worker)
    end

    test "replaces one whose output has become text" do
      pool = start_ill(:text_on_stdout, health: [interval: 10, timeout: 500])
      replaced(pool)
    end

    test "replaces one whose event loop is late" do
      pool = start_ill(:late_loop, health: [interval: 10])
      replaced(pool)
    end

    test "replaces one that does not read, when it does not answer" do
      pool = start_ill(:deaf, health: [interval: 10, timeout: 500])
      replaced(pool)
    end

    test "ends one that is deaf from the start, when its owner is killed" do
      pool = start_ill(:never_ready, ready_timeout: @patience)
      [{_, guard, _, _}] = DynamicSupervisor.which_children(Module.concat(pool, Guards))
      {worker, _load} = :sys.get_state(guard).worker
      os_pid = os_pid(worker)
      Process.exit(worker, :kill)
      assert_gone(os_pid)
    end

    test "counts a run that nobody waits for, until the worker has let go of it" do
      pool = start_ill(:silent, health: [interval: @patience])
      {worker, _os_pid} = any_worker(pool)
      test = self()

      caller =
        spawn(fn ->
          {:ok, ref} = AxonPort.run(pool, "agent", "go")
          send(test, {:ref, ref})
          receive do: (:never -> :ok)
        end)

      assert_receive {:ref, ref}, @patience
      assert {:ok, _id} = Worker.find(worker, ref)
      Process.exit(caller, :kill)
      eventually(fn -> Worker.find(worker, ref) == :none end, "the caller's death was not noticed")
      assert [%{worker: ^worker, load: 1}] = Pool.workers(pool)
    end

    test "does not wait for another worker where the only one is full" do
      pool =
        start_ill(:deaf, max_queued_bytes: 1_000, ready_timeout: 3_600_000, health: [interval: @patience])

      {worker, _os_pid} = any_worker(pool)
      # More than a pipe takes.
      {:ok, _ref} = AxonPort.run(worker, "agent", String.duplicate("x", 1_000_000))
      assert {:error, %Error{reason: :overloaded}} = AxonPort.run_sync(pool, "agent", "go")
    end

    test "keeps nobody longer than he has time" do
      pool = start_ill(:never_ready, ready_timeout: 3_600_000)
      assert {:error, %Error{reason: :not_ready}} = AxonPort.run_sync(pool, "agent", "go", timeout: 1)
      assert {:error, %Error{reason: :not_ready}} = AxonPort.run(pool, "agent", "go", timeout: 1)
      assert {:error, %Error{reason: :not_ready}} = AxonPort.ping(pool, timeout: 1)
    end

    test "tells its callers when none becomes ready, and goes on trying" do
      pool = start_ill(:exits_at_once, ready_timeout: 300)
      assert {:error, %Error{reason: :not_ready, retryable: true}} = AxonPort.run_sync(pool, "agent", "go")
      assert Process.alive?(Process.whereis(pool))
    end
  end

  defp open(worker, type, ref) do
    request = AxonPort.Request.new(:command, AxonPort.Command.new!(type), ref: ref)
    with {:ok, %{id: id}} <- Worker.open(worker, request, self()), do: {:ok, id}
  end
end
