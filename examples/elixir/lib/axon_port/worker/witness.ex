defmodule AxonPort.Worker.Witness do
  @moduledoc """
  Knows what a worker's process has begun, and ends it if that process is killed: nobody else could.

  Then its tools are killed, since nobody waits for them any more, and what telemetry was told of as begun is told of as
  ended. A process that ends in any other way does this itself, and nothing is left to be done here.
  """

  use GenServer

  alias AxonPort.Worker.Report

  @typedoc "What was begun: how telemetry was told of it, if it was, and the task that works on it, if there is one."
  @type deed :: {Report.span() | nil, task :: pid | nil}

  @doc "A witness of the calling process. It outlives that, and so is not linked to it."
  @spec start() :: pid
  def start do
    {:ok, witness} = GenServer.start(__MODULE__, self())
    witness
  end

  @doc "Something has begun, which is known by this key."
  @spec began(pid, key :: term, deed) :: :ok
  def began(witness, key, deed), do: GenServer.cast(witness, {:began, key, deed})

  @doc "It has ended."
  @spec ended(pid, key :: term) :: :ok
  def ended(witness, key), do: GenServer.cast(witness, {:ended, key})

  @impl true
  def init(owner) do
    Process.monitor(owner)
    {:ok, %{}}
  end

  @impl true
  def handle_cast({:began, key, deed}, deeds), do: {:noreply, Map.put(deeds, key, deed)}
  def handle_cast({:ended, key}, deeds), do: {:noreply, Map.delete(deeds, key)}

  @impl true
  def handle_info({:DOWN, _monitor, :process, _owner, reason}, deeds) do
    for {_key, {_span, task}} <- deeds, task != nil, do: Process.exit(task, :kill)
    spans = for {_key, {span, _task}} <- deeds, span != nil, do: span
    # What began last ends first: a tool before its run, a run before its worker.
    for span <- Enum.sort_by(spans, &elem(&1, 1), :desc), do: Report.cut_off(span, reason)
    {:stop, :normal, deeds}
  end
end
