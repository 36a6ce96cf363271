defmodule AxonPort.Supervisor do
  @moduledoc """
  A pool of workers, supervised.

      children = [
        {AxonPort.Supervisor, name: MyApp.Agents, workers: 2, env: [{"OPENAI_API_KEY", key}]}
      ]

  The name is what callers use: `AxonPort.run_sync(MyApp.Agents, …)`.

      AxonPort.Supervisor                  rest_for_one
      ├── DynamicSupervisor                of AxonPort.Conversation; they outlive all that follows
      ├── Task.Supervisor                  tools run here
      ├── AxonPort.Pool                    which worker a run goes to
      └── DynamicSupervisor                of AxonPort.Guard, one for each worker; they drain together
          └── AxonPort.Guard               restarts with backoff, health checks
              └── AxonPort.Worker          owns the port

  ## Options

    * `:name` - an atom, required
    * `:workers` - how many, default `System.schedulers_online/0`
    * `:ready_timeout` - ms that callers wait while no worker is ready, and that a worker has to become it
    * `:cluster` - true to be found by `{:cluster, name}` from other nodes (`AxonPort.Cluster`)
    * `:backoff` - `[base: 500, max: 30_000]`, between the restarts of a worker
    * `:health` - fields of `AxonPort.Guard.Health`
    * `:stable` - ms after which a worker's earlier failures are forgotten, default 10000
    * all others are the workers' (`AxonPort.Options`)

  Stopping it drains: no run is taken any more, those under way have `:grace` ms, all workers at the same time.
  """

  use Supervisor

  alias AxonPort.{Backoff, Cluster, Codec, Guard, Options, Pool}

  @own [:name, :workers, :cluster, :backoff, :health, :stable]

  @doc """
  Starts the pool and its workers.

  Raises `ArgumentError` for an option that is wrong, `RuntimeError` where the node has no JSON codec.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    name = Keyword.fetch!(options, :name)
    is_atom(name) or raise ArgumentError, ":name has to be an atom, not #{inspect(name)}"
    Codec.ensure!()
    Supervisor.start_link(__MODULE__, options, name: Module.concat(name, Supervisor))
  end

  @doc false
  def child_spec(options) do
    %{id: options[:name], start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @doc "Where conversations live (`AxonPort.Conversation`)."
  @spec conversations(atom) :: atom
  def conversations(name), do: Module.concat(name, Conversations)

  @impl true
  def init(options) do
    {own, worker} = Keyword.split(options, @own)
    name = own[:name]
    tasks = Module.concat(name, Tasks)
    guards = Module.concat(name, Guards)
    scope = if own[:cluster], do: Cluster.scope(name)

    guard = [
      pool: name,
      worker: Options.new([task_supervisor: tasks] ++ worker),
      backoff: Backoff.new(own[:backoff] || []),
      health: own[:health] || [],
      stable: own[:stable] || 10_000
    ]

    children =
      if(scope, do: [%{id: :pg, start: {:pg, :start_link, [scope]}}], else: []) ++
        [
          Supervisor.child_spec({DynamicSupervisor, name: conversations(name)}, id: :conversations),
          {Task.Supervisor, name: tasks},
          {Pool, name: name, scope: scope, ready_timeout: worker[:ready_timeout]},
          {DynamicSupervisor, name: guards},
          %{id: :guards, start: {__MODULE__, :start_guards, [guards, guard, count(own[:workers])]}}
        ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  defp count(nil), do: System.schedulers_online()
  defp count(n) when is_integer(n) and n > 0, do: n
  defp count(other), do: raise(ArgumentError, ":workers cannot be #{inspect(other)}")

  @doc false
  # No process of its own: guards are stopped together, by a supervisor that can only be given them once it runs.
  def start_guards(guards, guard, count) do
    for _ <- 1..count, do: {:ok, _pid} = DynamicSupervisor.start_child(guards, {Guard, guard})
    :ignore
  end
end
