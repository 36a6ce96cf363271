defmodule AxonPort.LogTest do
  # A handler hears of everything on this node.
  use ExUnit.Case, async: false

  import AxonPort.RealWorker

  alias AxonPort.Error

  @patience AxonPort.RealWorker.patience()

  @doc "A handler of Erlang's logger."
  def log(%{msg: {:string, text}} = event, %{config: %{test: test}}) do
    send(test, {:logged, event.level, IO.chardata_to_string(text), event.meta})
  end

  def log(_report, _config), do: :ok

  setup do
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: %{test: self()}})
    on_exit(fn -> :logger.remove_handler(__MODULE__) end)
  end

  test "what a worker logs and prints comes with its level and metadata" do
    path = Enum.join([Path.expand("../support", __DIR__), System.get_env("PYTHONPATH", "")], ":")
    worker = start_worker(allow_import: ["printing_tool"], env: [{"PYTHONPATH", path}])
    os_pid = os_pid(worker)
    tool = [name: "shout", handler: {:python, "printing_tool:shout"}]
    agent = scripted("loud", [%{tool_calls: [%{name: "shout", args: %{word: "hey"}}]}], tools: [tool])
    assert {:error, %Error{reason: :tool_error}} = AxonPort.run_sync(worker, agent, "go")

    assert_receive {:logged, :info, "heard hey", %{logger: "stdout", worker: ^worker, os_pid: ^os_pid}},
                   @patience

    assert_receive {:logged, :warning, "loud",
                    %{logger: "shop", agent_id: "loud", fields: %{"decibel" => 120}} = meta},
                   @patience

    assert is_reference(meta.ref)
    assert meta.domain == [:elixir, :axon_port] or meta.domain == [:axon_port]
    assert_receive {:logged, :error, text, %{agent_id: "loud"}}, @patience
    assert text =~ "ValueError: hey", "the traceback is not there"
  end

  test "the level is the worker's, and can be changed" do
    worker = start_worker(log_level: :error)
    agent = scripted("quiet", [%{text: "x"}])
    {:ok, _} = AxonPort.run_sync(worker, agent, "go", traceparent: "none")
    :ok = AxonPort.set_log_level(worker, :debug)
    {:ok, _} = AxonPort.run_sync(worker, agent, "go", traceparent: "none")
    assert_receive {:logged, :debug, "" <> _text, %{agent_id: "quiet"}}, @patience
    refute_received {:logged, :debug, _text, %{agent_id: "quiet", worker: ^worker}}
  end

  test "the level of a pool is that of all its workers" do
    pool = start_pool(workers: 2, log_level: :error)
    :ok = AxonPort.set_log_level(pool, :debug)

    for %{worker: worker} <- AxonPort.Pool.workers(pool) do
      agent = scripted("quiet", [%{text: "x"}])
      {:ok, _} = AxonPort.run_sync(worker, agent, "go", traceparent: "none")
      assert_receive {:logged, :debug, "" <> _text, %{agent_id: "quiet", worker: ^worker}}, @patience
    end
  end
end
