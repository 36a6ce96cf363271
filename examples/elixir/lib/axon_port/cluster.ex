defmodule AxonPort.Cluster do
  @moduledoc """
  Pools on more than one node, by Erlang distribution and nothing else.

  Start a supervisor of the same name on each node:

      {AxonPort.Supervisor, name: MyApp.Agents, cluster: true}

  and use `{:cluster, MyApp.Agents}` in the place of a server:

      AxonPort.run_sync({:cluster, MyApp.Agents}, MyApp.Guide, "Hello", attempts: 3)

  A run goes to the pool of its own node; where that has no worker that is ready and has room, to another node's, in no
  particular order. Nodes find each other's pools through `:pg`, so whoever is connected is found, and forgotten when it
  is not. A node without workers may take part: it needs `{AxonPort.Cluster, name: MyApp.Agents}` among its children.

  Callers are monitored across nodes. If a node dies, its callers' runs elsewhere are cancelled, and callers elsewhere
  of runs on that node get `:worker_exited`, or with `:attempts` their runs begin again on another node. Tools run on
  the node of the worker, which has to have their code.
  """

  alias AxonPort.{Error, Pool}

  # What another node may take to name a worker. One that is slower than that is down, for all we care.
  @choose_timeout 5_000

  @doc "Takes part without a pool."
  def child_spec(options) do
    %{id: __MODULE__, start: {:pg, :start_link, [scope(Keyword.fetch!(options, :name))]}}
  end

  @doc "The `:pg` scope of the pools of this name."
  @spec scope(atom) :: atom
  def scope(name), do: Module.concat(name, Cluster)

  @doc "The pools of this name, this node's first."
  @spec pools(atom) :: [pid]
  def pools(name) do
    {here, elsewhere} = name |> scope() |> :pg.get_members(:pools) |> Enum.split_with(&(node(&1) == node()))
    here ++ Enum.shuffle(elsewhere)
  rescue
    # The scope has not been started here, or is being restarted.
    ArgumentError -> []
  end

  @doc """
  A worker of the nearest pool that has room, counted in, other than those that were tried. Where nobody has one, this
  node's pool waits for one as `AxonPort.Pool.pick/3` does.
  """
  @spec pick(atom, [pid], non_neg_integer) :: {:ok, pid} | {:error, Error.t()}
  def pick(name, tried, patience) do
    with {:error, %Error{reason: :not_ready}} <- choose(name, tried) do
      # Nobody has a worker at the moment. Where there is a pool here, its next one is worth waiting for.
      if Pool.exists?(name), do: Pool.pick(name, tried, patience), else: {:error, Error.new(:not_ready)}
    end
  end

  defp choose(name, tried) do
    Enum.reduce_while(pools(name), {:error, Error.new(:not_ready)}, fn pool, so_far ->
      case choose_at(pool, name, tried) do
        {:ok, worker} -> {:halt, {:ok, worker}}
        {:error, error} -> {:cont, {:error, worse(so_far, error)}}
      end
    end)
  end

  defp choose_at(pool, name, tried) when node(pool) == node(), do: Pool.choose(name, tried)
  defp choose_at(pool, _name, tried), do: Pool.choose_at(pool, tried, @choose_timeout)

  # If anybody is there at all, what is wrong is that they are full.
  defp worse({:error, %Error{reason: :overloaded} = full}, _error), do: full
  defp worse(_so_far, error), do: error
end
