defmodule AxonPort.Peers do
  @moduledoc """
  Real nodes for tests, and what the tests do on them.

  They are started by `:peer` over standard output, so that the node of the tests needs no distribution, and find each
  other without epmd: a node's port is in its name.
  """

  import ExUnit.Callbacks

  alias AxonPort.{Agent, Pool, RealWorker}

  @doc "A node that goes with the test, and its peer process."
  def start do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)

    {:ok, peer, node} =
      :peer.start(%{
        name: :"axon#{port}",
        host: '127.0.0.1',
        longnames: true,
        connection: :standard_io,
        args:
          ['-setcookie', 'axon_port', '-start_epmd', 'false', '-epmd_module', '#{__MODULE__.Epmd}'] ++
            code_paths()
      })

    on_exit(fn -> stop(peer) end)
    call(peer, :application, :ensure_all_started, [:logger])
    call(peer, Logger, :configure, [[level: :none]])
    %{peer: peer, node: node}
  end

  defp code_paths, do: Enum.flat_map(:code.get_path(), &['-pa', &1])

  defp stop(peer) do
    :peer.stop(peer)
  catch
    # It was killed.
    :exit, _gone -> :ok
  end

  @doc "Calls a function there."
  def call(peer, module, function, arguments) do
    :peer.call(peer, module, function, arguments, RealWorker.patience())
  end

  @doc "Connects nodes with each other."
  def connect([first | rest]) do
    for %{node: node} <- rest, do: true = call(first.peer, Node, :connect, [node])
    for %{peer: peer} <- rest, %{node: node} <- rest, do: call(peer, Node, :connect, [node])
  end

  @doc "Ends a node as a power failure does."
  def kill(%{peer: peer}) do
    RealWorker.signal(call(peer, :os, :getpid, []), "KILL")
  end

  # What is called on the nodes

  @doc "Starts children that outlive the call."
  def start_children(children) do
    caller = self()

    spawn(fn ->
      {:ok, _supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      send(caller, :started)
      receive do: (:never -> :ok)
    end)

    receive do: (:started -> :ok)
  end

  @doc "The processes of this node's workers."
  def os_pids(name), do: for(%{worker: worker} <- Pool.workers(name), do: AxonPort.Worker.info(worker).os_pid)

  @doc "How many runs this node's pool carries."
  def load(name), do: name |> Pool.workers() |> Enum.map(& &1.load) |> Enum.sum()

  @doc "An agent whose tool waits on its node until it is let go, and tells the node's name."
  def agent do
    Agent.new(
      id: "held",
      model: {:script, [%{tool_calls: [%{name: "hold"}]}, %{text: "done"}]},
      tools: [[name: "hold", run: &__MODULE__.hold/1]]
    )
  end

  @doc "The tool."
  def hold(_args) do
    if :persistent_term.get(__MODULE__, :held) == :released do
      {:ok, node()}
    else
      receive after: (10 -> hold(nil))
    end
  end

  @doc "Lets the tools of this node go."
  def release, do: :persistent_term.put(__MODULE__, :released)

  @doc "Runs the agent from so many processes of this node; `collect/0` has their outcomes."
  def begin(server, count, options) do
    pids = for _ <- 1..count, do: spawn(fn -> caller(server, options) end)
    :persistent_term.put({__MODULE__, :callers}, pids)
  end

  defp caller(server, options) do
    outcome = AxonPort.run_sync(server, agent(), "go", options)
    receive do: ({:collect, collector} -> send(collector, {self(), summary(outcome)}))
  end

  defp summary({:ok, %{output: "done", messages: messages}}) do
    [node] =
      for %{"parts" => parts} <- messages,
          %{"part_kind" => "tool-return", "content" => node} <- parts,
          do: node

    {:ok, node}
  end

  defp summary({:error, error}), do: {:error, error.reason}

  @doc "The outcomes of the processes that `begin/3` started, once all of them have one."
  def collect do
    pids = :persistent_term.get({__MODULE__, :callers})
    for pid <- pids, do: send(pid, {:collect, self()})
    for pid <- pids, do: receive(do: ({^pid, outcome} -> outcome))
  end

  defmodule Epmd do
    @moduledoc "Stands in for epmd: the port is in the name."

    def start_link, do: :ignore
    def register_node(_name, _port), do: {:ok, 1}
    def register_node(_name, _port, _family), do: {:ok, 1}
    def listen_port_please(name, _host), do: {:ok, port(name)}
    def port_please(name, _host), do: {:port, port(name), 6}
    def port_please(name, _host, _timeout), do: {:port, port(name), 6}
    def address_please(_name, _host, _family), do: {:ok, {127, 0, 0, 1}}
    def names(_host), do: {:error, :address}

    defp port(name), do: name |> to_string() |> String.replace_prefix("axon", "") |> String.to_integer()
  end
end
